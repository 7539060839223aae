import React from 'react';
import {NavigationContainer} from '@react-navigation/native';
import {createNativeStackNavigator} from '@react-navigation/native-stack';
import * as eva from '@eva-design/eva';
import {ApplicationProvider} from '@ui-kitten/components';
import {Provider} from 'react-redux';
import {store} from './src/store';
import {Notes} from './src/Notes';
import {Editor} from './src/Editor';
//+import

const Stack = createNativeStackNavigator();

export function App() {
  return (
    <Provider store={store}>
      <ApplicationProvider {...eva} theme={eva.light}>
        <NavigationContainer>
          <Stack.Navigator>
            <Stack.Screen name="Notes" component={Notes} />
            <Stack.Screen name="Editor" component={Editor} />
            {/*+screen*/}
          </Stack.Navigator>
        </NavigationContainer>
      </ApplicationProvider>
    </Provider>
  );
}
